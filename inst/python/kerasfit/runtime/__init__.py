"""The process: loading Keras, the cache of compiled programs, BLAS, processor, memory and files."""

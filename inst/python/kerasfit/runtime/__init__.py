"""Process-level services: loading Keras, the cache of compiled programs, BLAS, CPU, memory and files."""

#' kerasfit: train Keras models from R
#'
#' `fit(model, x, y)` trains a Keras 3 model on R data: vectors, matrices, arrays, factors, data
#' frames, lists of these, TensorFlow datasets, and R functions that generate batches. The training
#' loop is kerasfit's own and runs on TensorFlow, JAX or PyTorch.
#'
#' Start with `vignette("kerasfit")`. Build models with the Python module that kerasfit
#' exports as [keras], or with the R package keras3. Train with
#' [compile()][compile.keras.src.trainers.trainer.Trainer],
#' [fit()][fit.keras.src.trainers.trainer.Trainer], [evaluate()] and
#' [predict()][predict.keras.src.trainers.trainer.Trainer]; look at a [keras_training_history]; run
#' code during training with [callbacks] and [Callback()]; choose a backend with [use_backend()];
#' repeat runs with [set_random_seed()]; describe your installation with [kerasfit_sitrep()].
#'
#' @section Options:
#' Set them with [options()]. The default is in parentheses.
#'
#' * `keras.verbose` (`"auto"`): the default of `verbose` in
#'   [fit()][fit.keras.src.trainers.trainer.Trainer], [evaluate()] and
#'   [predict()][predict.keras.src.trainers.trainer.Trainer].
#' * `keras.view_metrics` (`"auto"`): the default of `view_metrics` in
#'   [fit()][fit.keras.src.trainers.trainer.Trainer].
#' * `keras.plot.history.smooth` (`FALSE`), `keras.plot.history.theme_bw` (`FALSE`): the defaults of
#'   `smooth` and `theme_bw` in [plot()][plot.kerasfit_history].
#' * `kerasfit.allow_missing` (`FALSE`): whether data may contain `NaN` and infinite numbers. See
#'   the section "Errors" of [fit()][fit.keras.src.trainers.trainer.Trainer].
#' * `kerasfit.interrupt` (`"auto"`): whether an interrupted `fit()` returns the history or raises
#'   R's interrupt: `"auto"`, `"return"` or `"error"`. See the section "Interrupts" of
#'   [fit()][fit.keras.src.trainers.trainer.Trainer].
#' * `kerasfit.plan` (`"auto"`): how steps are compiled and run: `"auto"`, `"loop"`, `"step"`,
#'   `"xla"`, `"xla_step"` or `"recorded"`. See `vignette("speed")`.
#' * `kerasfit.kernels` (`TRUE`, unless the environment variable `KERASFIT_KERNELS` is 0):
#'   whether faster functions may replace slow ones of Keras on CPUs. See `vignette("speed")`.
#' * `kerasfit.cache` (`KERASFIT_CACHE`, or `tools::R_user_dir("kerasfit", "cache")`): the folder
#'   for compiled programs, or `FALSE`. Set it before Keras loads. See [use_backend()].
#'
#' kerasfit also follows general options of R and other packages: `expressions`, `viewer`, `browser`
#' and `width` of R, `knitr.in.progress`, and `repr.plot.width`, `repr.plot.height` and
#' `repr.plot.res` in Jupyter notebooks.
#'
#' @section Environment variables:
#' Set these before Keras loads.
#'
#' * `KERAS_BACKEND` (`tensorflow`): the backend, see [use_backend()].
#' * `KERASFIT_CACHE` (not set): the folder for compiled programs if the option `kerasfit.cache` is
#'   not set. An empty string turns storing them off.
#' * `KERASFIT_KERNELS` (not set): 0, `false`, `no` or `off` turns the faster functions off if the
#'   option `kerasfit.kernels` is not set.
#' * `TF_CPP_MIN_LOG_LEVEL` (3): with any other value, messages of TensorFlow and JAX are printed
#'   when they load.
#' * `JAX_COMPILATION_CACHE_DIR`, `JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS`, and a folder for
#'   compiled programs in `TF_XLA_FLAGS` (not set): values that you set take precedence over
#'   kerasfit's own settings for compiled programs.
#' * `TF_CONFIG`, `WORLD_SIZE` (not set): set by launchers of distributed training; then
#'   `verbose = "auto"` prints a line for each epoch and no bar.
#' * `CUDA_VISIBLE_DEVICES`, `JAX_PLATFORMS`, `KERAS_TORCH_DEVICE` (not set): the devices that a
#'   backend may use. [use_backend()] with the argument `gpu` changes them.
#' * `TORCHINDUCTOR_CACHE_DIR` (not set): a folder of PyTorch. kerasfit removes the empty folder
#'   that PyTorch creates when it loads, but never one that you name here.
#'
#' kerasfit also reads these:
#'
#' * `DISPLAY`, `WAYLAND_DISPLAY`: whether a browser can be opened, on Linux.
#' * `NOT_CRAN`: with `true`, examples may start Python.
#' * `_R_CHECK_PACKAGE_NAME_`: set by `R CMD check`; no compiled programs are stored then.
#'
#' [kerasfit_sitrep()] also reports the variables for threads (`OMP_NUM_THREADS` and others),
#' `XLA_FLAGS` and `RETICULATE_PYTHON`.
#'
#' @keywords internal
#' @importFrom rlang %||%
#' @useDynLib kerasfit, C_new_state, C_bytes_of
"_PACKAGE"

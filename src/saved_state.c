/*
 * A value that R serializes as the bytes of a model.
 *
 * R cannot save Python objects, but it saves their attributes. kerasfit attaches to a model a value of this
 * class: an empty raw vector that holds an R function. When R serializes it, for saveRDS(), a worker of the
 * package future or a saved workspace, the function returns the bytes to write. The value that R reads again
 * holds these bytes. R calls no function for values that are never serialized.
 */
#include <R.h>
#include <Rinternals.h>
#include <R_ext/Altrep.h>
#include <R_ext/Rdynload.h>

static R_altrep_class_t state_class;

/* content: the function, or the bytes after reading */
static SEXP new_state(SEXP content) {
  PROTECT(content);
  SEXP state = R_new_altrep(state_class, content, Rf_allocVector(RAWSXP, 0));
  UNPROTECT(1);
  return state;
}

static SEXP content_of(SEXP state) { return R_altrep_data1(state); }

/* As a vector it is empty, so that no code can change the bytes. */
static R_xlen_t length_method(SEXP state) { return 0; }

static void *dataptr_method(SEXP state, Rboolean writable) { return RAW(R_altrep_data2(state)); }

static const void *dataptr_or_null_method(SEXP state) { return RAW(R_altrep_data2(state)); }

static SEXP duplicate_method(SEXP state, Rboolean deep) { return new_state(content_of(state)); }

/* NULL tells R to write the empty vector instead. */
static SEXP serialized_state_method(SEXP state) {
  SEXP content = content_of(state);
  if (TYPEOF(content) == RAWSXP) return content;
  SEXP call = PROTECT(Rf_lang1(content));
  SEXP bytes = Rf_eval(call, R_BaseEnv); /* the function catches its errors, and may warn */
  UNPROTECT(1);
  return TYPEOF(bytes) == RAWSXP ? bytes : NULL;
}

static SEXP unserialize_method(SEXP class, SEXP bytes) { return new_state(bytes); }

/* The bytes, or NULL in the process in which the model lives. */
static SEXP bytes_of(SEXP state) {
  if (!R_altrep_inherits(state, state_class)) return R_NilValue;
  return TYPEOF(content_of(state)) == RAWSXP ? content_of(state) : R_NilValue;
}

static const R_CallMethodDef routines[] = {
  {"C_new_state", (DL_FUNC) &new_state, 1}, {"C_bytes_of", (DL_FUNC) &bytes_of, 1}, {NULL, NULL, 0}};

void R_init_kerasfit(DllInfo *library) {
  R_registerRoutines(library, NULL, routines, NULL, NULL);
  R_useDynamicSymbols(library, FALSE);
  state_class = R_make_altraw_class("model_state", "kerasfit", library);
  R_set_altrep_Length_method(state_class, length_method);
  R_set_altrep_Duplicate_method(state_class, duplicate_method);
  R_set_altrep_Serialized_state_method(state_class, serialized_state_method);
  R_set_altrep_Unserialize_method(state_class, unserialize_method);
  R_set_altvec_Dataptr_method(state_class, dataptr_method);
  R_set_altvec_Dataptr_or_null_method(state_class, dataptr_or_null_method);
}

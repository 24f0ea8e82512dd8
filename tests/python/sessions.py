"""Environment for the R and Python sessions that tests start."""

import os

# for sessions in which the backend does not matter: KERASFIT_TEST_SESSIONS, or the one that loads fastest
ENVIRONMENT = os.environ | {
    "KERAS_BACKEND": os.environ.get("KERASFIT_TEST_SESSIONS", "jax"),
    "TF_CPP_MIN_LOG_LEVEL": "3",
}

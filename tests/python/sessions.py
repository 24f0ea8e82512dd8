"""For R and Python sessions that a test starts."""

import os

# the backend that loads soonest, or the one that is asked for: for sessions that are not about a backend
ENVIRONMENT = os.environ | {
    "KERAS_BACKEND": os.environ.get("KERASFIT_TEST_SESSIONS", "jax"),
    "TF_CPP_MIN_LOG_LEVEL": "3",
}

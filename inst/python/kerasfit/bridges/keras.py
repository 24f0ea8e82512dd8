"""Importing this module gives Keras itself, loaded quietly. R's ``keras`` is imported through here."""

import sys

import keras

sys.modules[__name__] = keras

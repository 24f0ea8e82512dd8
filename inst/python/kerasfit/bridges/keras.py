"""Replaces itself with Keras, loaded without messages. R imports its ``keras`` through this module."""

import sys

import keras

sys.modules[__name__] = keras

"""Two-tower retrieval on TensorFlow Recommenders: from an interaction log to a served SavedModel.

Import this package before TensorFlow: TensorFlow Recommenders needs legacy Keras (tf-keras), and
`TF_USE_LEGACY_KERAS` only counts before TensorFlow loads.
"""

from tfrs_twotower import _legacy_keras

_legacy_keras.require()

__version__ = "0.1.0"

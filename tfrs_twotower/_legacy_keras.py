"""TensorFlow Recommenders 0.7.7 refuses Keras 3, so legacy Keras is chosen before TensorFlow loads."""

import os
import sys


def require() -> None:
    """Sets `TF_USE_LEGACY_KERAS=1`.

    Raises:
      ImportError: TensorFlow was imported earlier, with Keras 3.
    """
    tensorflow = sys.modules.get("tensorflow")
    chosen = os.environ.get("TF_USE_LEGACY_KERAS", "").lower() in ("1", "true")
    # Chosen too late is not chosen: the Keras that TensorFlow took is the one that counts.
    if tensorflow is not None and not (chosen and tensorflow.keras.Model.__module__.startswith("tf_keras")):
        raise ImportError(
            "TensorFlow was imported before tfrs_twotower, with Keras 3. Import tfrs_twotower first, "
            "or set TF_USE_LEGACY_KERAS=1 in the environment."
        )
    os.environ["TF_USE_LEGACY_KERAS"] = "1"

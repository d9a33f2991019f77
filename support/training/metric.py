"""Mean IoU of any number of pixels."""

from support.runtime.devices import BACKEND

import keras
from keras import ops


class MeanIoU(keras.metrics.MeanIoU):
    """Keras' own, with each batch counted in whole numbers.

    Keras counts in one type of number. By ones, float32 ends at 2^24, which are the pixels of 16
    pictures of 1024 x 1024; int32 would overflow in an epoch. So int32 counts a batch, and float32
    adds batches up.
    """

    def __init__(self, num_classes, **options):
        super().__init__(num_classes, dtype="float32", **options)
        self.batch = keras.metrics.MeanIoU(num_classes, dtype="int32", **options)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add masks, integer (N, H, W, 1), and logits or probabilities (N, H, W, C).

        Where the channels are those of several outputs, one after the other, the first counts.
        """
        y_pred = y_pred[..., : self.num_classes]
        if BACKEND == "torch":
            counted = _count_by_torch(y_true, y_pred)
        else:
            self.batch.reset_state()
            self.batch.update_state(y_true, y_pred, sample_weight)
            counted = self.batch.total_cm
        self.total_cm.assign_add(ops.cast(counted, "float32"))


def _count_by_torch(y_true, y_pred):
    """Confusion matrix (C, C), for which Keras 3.15 on PyTorch loops over the pixels in Python."""
    import torch

    classes = y_pred.shape[-1]
    truth, found = (ops.reshape(ids, (-1,)) for ids in (y_true, ops.argmax(y_pred, axis=-1)))
    known = truth < classes  # void is above
    pairs = classes * ops.cast(truth[known], "int64") + found[known]
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)

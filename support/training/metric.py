"""Mean IoU of any number of pixels."""

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
        self.batch.reset_state()
        self.batch.update_state(y_true, y_pred[..., : self.num_classes], sample_weight)
        self.total_cm.assign_add(ops.cast(self.batch.total_cm, "float32"))

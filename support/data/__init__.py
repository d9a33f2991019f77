"""From files to batches: sources, decoding, classes, prepared file, order, tiles, augmentation."""

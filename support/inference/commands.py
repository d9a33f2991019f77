"""What a script does with a trained model in place of training one."""

from support.inference.export import export_model
from support.inference.label_photos import label_photos


def use_model(network, flags, preprocess):
    """Do what `flags.predict` or `flags.export` asks for; return whether there was anything to do.

    Args:
        network, flags, preprocess: as for `label_photos`; `flags` has `export`, too.
    """
    if flags.predict:
        label_photos(network, flags, preprocess)
    if flags.export:
        export_model(network, flags)
    return bool(flags.predict or flags.export)

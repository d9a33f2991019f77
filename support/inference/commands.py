"""What a script does with a trained model in place of training one."""

from support.inference.export import export_model
from support.inference.label_photos import label_photos
from support.runtime.flags import refuse


def use_model(network, flags, preprocess):
    """Do what `flags.predict` or `flags.export` asks for; return whether there was anything to do.

    Args:
        network, flags, preprocess: as for `label_photos`; `flags` has `export`, too.
    """
    pretrained = getattr(flags, "pretrained", "none")
    if (flags.predict or flags.export) and pretrained != "none" and not flags.model:
        refuse(f"--pretrained {pretrained} is for training here: --model names a model to use")
    if flags.predict:
        label_photos(network, flags, preprocess)
    if flags.export:
        export_model(network, flags)
    return bool(flags.predict or flags.export)

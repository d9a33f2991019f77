"""A trained model at work: photos to masks, tiles put together, overlays, the model's file."""

"""From photos to tensors: `preprocess` frames and normalises, `augment` varies, `dataset` draws, caches remember."""

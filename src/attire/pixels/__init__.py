"""From photos to tensors: `preprocess` frames and normalises, `augment` varies, `dataset` draws, `cache` remembers."""

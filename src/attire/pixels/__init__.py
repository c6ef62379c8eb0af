"""Turn photos into tensors: preprocessing, augmentation, datasets, and caches."""

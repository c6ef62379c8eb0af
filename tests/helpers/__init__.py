"""What several tests share: drawn feeds, small bundles, fake engines, clients, browsers and databases."""

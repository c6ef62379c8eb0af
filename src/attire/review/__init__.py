"""The page on which a catalog team checks predictions: `work` reads them, `store` keeps decisions, `app` shows both."""

"""The page on which a catalog team checks predictions: `data` reads them, `store` keeps decisions, `app` shows both."""

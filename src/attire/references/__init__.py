"""Published taxonomies of shops, Shopify's and Google's, and how a team's own words map to them."""

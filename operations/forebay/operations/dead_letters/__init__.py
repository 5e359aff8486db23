"""Dead letters: browse them, send them again, delete them."""

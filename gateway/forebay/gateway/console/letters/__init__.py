"""Dead letters in the console: browse them, send them again, delete them."""

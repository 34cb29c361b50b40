"""Side-by-side measurements and ordeals, run by hand; results recorded beside them."""

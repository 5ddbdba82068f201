"""Machine learning as pure functions over parameter pytrees."""

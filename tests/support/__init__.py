"""Small real parts that several tests share."""

"""What all HTTP answers share."""

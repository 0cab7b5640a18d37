"""What both HTTP servers stand on: the API of `faces serve` and the page of `faces webcam`."""

"""Camera or video -> detector and recognizer -> people on screen, JSON, HTTP."""

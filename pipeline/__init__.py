"""Camera or video -> detector and recogniser -> people on screen, JSON, HTTP."""

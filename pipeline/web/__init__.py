"""The page of `faces webcam --web`: the picture in a browser, and people taught by clicking it."""

"""Photos with boxes in, a trained face detector out."""

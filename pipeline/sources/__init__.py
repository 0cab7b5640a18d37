"""Where frames come from: cameras, streams, pipes, films, folders."""

"""Where the live picture goes: windows, films, JSON lines, events, web addresses."""

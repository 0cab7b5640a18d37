"""What a library gives to other programs: folders of photos, tables, sidecars with names."""

"""Name the people on photos: python name_people_in_a_folder.py KNOWN PHOTOS

KNOWN has a folder for each person, called by their name, with photos of them alone. What is learned
from them is kept in KNOWN/people.db, which the commands `faces run` and `faces webcam` take, too.
"""

import sys
from pathlib import Path

import faces

known, photos = map(Path, sys.argv[1:])

with faces.Gallery.open(known / "people.db") as gallery:
    for person in sorted(path for path in known.iterdir() if path.is_dir()):
        for photo in sorted(person.iterdir()):
            try:
                gallery.add(person.name, photo)
            except faces.UserError as reason:  # no face, two faces, too dark, somebody else, ...
                print(f"left out: {reason}", file=sys.stderr)

    analyzer = faces.FaceAnalyzer(gallery=gallery)
    for photo in sorted(path for path in photos.iterdir() if path.is_file()):
        try:
            people = analyzer(photo)
        except faces.UserError as reason:  # not an image, or damaged
            print(f"left out: {reason}", file=sys.stderr)
            continue
        names = [
            f"{face.name} ({face.similarity:.2f})" if face.name else "somebody unknown"
            for face in people
        ]
        print(f"{photo.name}: {', '.join(names) or 'nobody'}")

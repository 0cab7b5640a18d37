"""Which files command-line arguments name, and where their results belong."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from PIL import Image

from faces.errors import UserError
from faces.inputs import Source, expand_sources, plan_pictures, refuse_originals, wider_names
from faces.video.film import VideoReader


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def link(new: Path, old: Path) -> None:
    try:
        new.symlink_to(old)
    except OSError:
        pytest.skip("this system or user cannot make links")


def names(*arguments: str | Path, leave_out: Path | None = None) -> list[str]:
    return [source.name for source in expand_sources(list(map(str, arguments)), leave_out)]


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    touch(folder, "b.jpg", "a.PNG", "trip/c.jpeg", "trip/far/d.webp", "clip.MP4")
    touch(folder, "notes.txt", ".hidden.jpg", "trip/._c.jpeg")
    return folder


# -- what is found


def test_a_folder_is_searched_with_its_sub_folders(photos):
    expected = ["a.PNG", "b.jpg", "clip.MP4", "trip/c.jpeg", "trip/far/d.webp"]
    assert names(photos) == expected
    sources = expand_sources([str(photos)])
    assert [source.path for source in sources] == [photos / name for name in expected]
    assert [source.is_video for source in sources] == [False, False, True, False, False]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["b.jpg"]),
        ("*", ["a.PNG", "b.jpg", "clip.MP4", "trip/c.jpeg", "trip/far/d.webp"]),
        ("**/*.jp*g", ["b.jpg", "trip/c.jpeg"]),
        ("t*/*.jpeg", ["trip/c.jpeg"]),
        ("trip/?.jpeg", ["c.jpeg"]),
        ("[ab].*", ["a.PNG", "b.jpg"]),
        ("trip/**", ["c.jpeg", "far/d.webp"]),
    ],
)
def test_a_pattern_is_expanded_and_names_start_at_its_fixed_part(photos, pattern, expected):
    assert names(photos / pattern) == expected


def test_a_pattern_is_relative_to_the_current_folder(photos, monkeypatch):
    monkeypatch.chdir(photos)
    assert names("*.jpg") == ["b.jpg"]
    assert names("**/*.jpeg") == ["trip/c.jpeg"]
    assert names(".") == names(photos)


def test_a_file_is_taken_whatever_its_suffix(photos):
    assert names(photos / "notes.txt", photos / "trip/c.jpeg") == ["notes.txt", "c.jpeg"]


def test_brackets_in_the_name_of_a_file_are_no_pattern(tmp_path):
    touch(tmp_path, "photo[1].jpg", "photo1.jpg", "album [2]/x.jpg")
    assert names(tmp_path / "photo[1].jpg") == ["photo[1].jpg"]
    assert names(tmp_path / "album [2]") == ["x.jpg"]


def test_home_is_expanded(photos, monkeypatch):
    monkeypatch.setenv("HOME", str(photos))
    monkeypatch.setenv("USERPROFILE", str(photos))
    assert names("~/b.jpg") == ["b.jpg"]
    assert names("~/*.jpg") == ["b.jpg"]


def test_every_file_is_looked_at_once(photos):
    assert names(photos / "b.jpg", photos, photos / "*.jpg").count("b.jpg") == 1
    link(photos / "link.jpg", photos / "b.jpg")
    assert len(names(photos)) == 5


def test_results_inside_the_folder_are_not_found_again(photos):
    touch(photos, "found/b.jpg", "found/trip/c.jpeg", "found.jpg")
    out = photos / "found"
    assert names(photos, leave_out=out) == [
        *("a.PNG", "b.jpg", "clip.MP4", "found.jpg", "trip/c.jpeg", "trip/far/d.webp")
    ]
    assert "found/b.jpg" not in names(photos / "**/*.jpg", leave_out=out)
    assert names(out / "b.jpg", leave_out=out) == ["b.jpg"], "a file given by name is looked at"
    assert names(photos / "trip", leave_out=photos) == ["c.jpeg", "far/d.webp"]


def test_equal_names_become_unequal(tmp_path):
    touch(tmp_path, "one/x.jpg", "one/y.jpg", "two/X.JPG")
    assert names(tmp_path / "one", tmp_path / "two") == ["one/x.jpg", "one/y.jpg", "two/X.JPG"]
    assert names(tmp_path / "one/x.jpg", tmp_path / "two/X.JPG") == ["one/x.jpg", "two/X.JPG"]


def test_folders_of_the_system_are_left_out_and_said(photos, caplog):
    """Of network disks: photos that somebody deleted, and thumbnails."""
    expected = names(photos)
    touch(photos, "@eaDir/b.jpg/THUMB_XL.jpg", "trip/@eaDir/c.jpg", "#recycle/x/y.jpg")
    touch(photos, "$Recycle.Bin/z.jpg", "lost+found/1.jpg", "__MACOSX/b.jpg")
    with caplog.at_level(logging.INFO):
        assert names(photos) == expected
    assert "left out 6 system folders (#recycle $Recycle.Bin @eaDir __MACOSX lost+" in caplog.text
    assert names(photos / "*") == expected
    assert names(photos / "**/*.jp*g") == ["b.jpg", "trip/c.jpeg"]
    assert names(photos / "@eaDir") == ["b.jpg/THUMB_XL.jpg"], "it is what was asked for"
    assert names(photos / "@eaDir/*/*.jpg") == ["b.jpg/THUMB_XL.jpg"]


def test_a_folder_that_cannot_be_read_is_said_and_known_to_the_caller(photos, close_folder, caplog):
    closed: list[str] = []
    close_folder(photos / "trip")
    for argument in (photos, photos / "*"):
        found = expand_sources([str(argument)], None, closed)
        assert [source.name for source in found] == ["a.PNG", "b.jpg", "clip.MP4"]
        assert closed == [str(photos / "trip")]
        assert f"{photos / 'trip'}: the folder cannot be read: Permission denied" in caplog.text
        closed.clear()
        caplog.clear()


def test_a_path_in_a_folder_that_may_not_be_entered_is_named(photos, monkeypatch):
    def is_dir(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", is_dir)
    with pytest.raises(UserError, match=r"trip cannot be read: Permission denied"):
        expand_sources([str(photos / "trip")])


# -- refusals


def test_a_path_that_does_not_exist_is_named(photos):
    with pytest.raises(UserError, match=r"nope\.jpg: there is no such file or folder"):
        expand_sources([str(photos), str(photos / "nope.jpg")])


def test_a_pattern_without_a_match_is_named(photos):
    with pytest.raises(UserError, match=r"the pattern .*\*\.gif matches no image"):
        expand_sources([str(photos / "*.gif")])
    with pytest.raises(UserError, match=r"the pattern .*\*\.txt matches no image"):
        expand_sources([str(photos / "*.txt")])


def test_nothing_to_look_at_is_refused(tmp_path):
    with pytest.raises(UserError, match="no path was given"):
        expand_sources([])
    with pytest.raises(UserError, match=r"nothing to look at .*expected images \(apng .*mp4"):
        expand_sources([str(tmp_path)])


# -- where results go


def test_pictures_keep_folders_and_suffixes(photos, tmp_path):
    touch(photos, "scan", "clip.mov")
    arguments = [str(photos), str(photos / "scan")]
    targets = plan_pictures(expand_sources(arguments), tmp_path / "out")
    assert {target.relative_to(tmp_path / "out").as_posix() for target in targets.values()} == {
        *("a.PNG", "b.jpg", "trip/c.jpeg", "trip/far/d.webp"),
        *("clip.MP4", "clip.mov.mp4", "scan.jpg"),
    }


@pytest.mark.parametrize("argument", [".", "b.jpg", "*.jpg", "trip/../b.jpg"])
def test_originals_are_never_replaced(photos, monkeypatch, argument):
    monkeypatch.chdir(photos)
    with pytest.raises(UserError, match=r"would replace the original .*write to another folder"):
        plan_pictures(expand_sources([argument]), photos)


def test_an_original_is_recognized_behind_links_and_in_other_folders(photos, tmp_path):
    link(tmp_path / "link", photos)
    with pytest.raises(UserError, match="would replace the original"):
        plan_pictures(expand_sources([str(photos / "b.jpg")]), tmp_path / "link")
    touch(tmp_path, "other/a.PNG")
    sources = [Source(photos / "b.jpg", "trip/c.jpeg"), Source(photos / "trip/c.jpeg", "x.jpeg")]
    with pytest.raises(UserError, match=r"replace the original .*c\.jpeg"):
        plan_pictures(sources, photos)
    os.link(photos / "b.jpg", tmp_path / "b.jpg")
    with pytest.raises(UserError, match="would replace the original"):
        plan_pictures(expand_sources([str(photos / "b.jpg")]), tmp_path)


def test_two_sources_never_share_a_picture(tmp_path):
    sources = [Source(tmp_path / "a", "scan"), Source(tmp_path / "b.jpg", "scan.jpg")]
    touch(tmp_path, "a", "b.jpg")
    with pytest.raises(UserError, match=r"would both become .*scan\.jpg"):
        plan_pictures(sources, tmp_path / "out")


def test_another_file_of_ours_may_be_replaced(photos, tmp_path):
    touch(tmp_path, "out/b.jpg")
    sources = expand_sources([str(photos / "b.jpg")])
    assert list(plan_pictures(sources, tmp_path / "out").values()) == [tmp_path / "out/b.jpg"]
    refuse_originals(sources, tmp_path / "out/b.jpg", tmp_path / "new.json")
    with pytest.raises(UserError, match="would replace the original"):
        refuse_originals(sources, photos / "b.jpg")


def test_wider_names_drop_the_suffix_and_leave_videos_out(photos, caplog):
    with caplog.at_level(logging.WARNING):
        given = wider_names(expand_sources([str(photos)]))
    assert list(given.values()) == ["a", "b", "trip/c", "trip/far/d"]
    assert "clip.MP4: a video has no place" in caplog.text


def test_wider_names_must_differ(tmp_path):
    touch(tmp_path, "a.jpg", "a.png", "v1.2.jpg")
    assert list(wider_names(expand_sources([str(tmp_path / "v*")])).values()) == ["v1.2"]
    with pytest.raises(UserError, match=r"a\.jpg and .*a\.png differ only in the suffix"):
        wider_names(expand_sources([str(tmp_path)]))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
@pytest.mark.timeout(20)  # whoever opens a pipe that nobody writes to waits for ever
@pytest.mark.parametrize("name", ["pipe", "film.mp4", "stream.ts", "data.bin"])
def test_a_pipe_is_refused_and_in_a_folder_passed_over(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=f"{name} is a pipe or a device: save"):
        expand_sources([str(tmp_path / name)])
    picture = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(picture)
    found = {source.path.name: source.is_video for source in expand_sources([str(tmp_path)])}
    # What is called a film is counted and fails when it is read.
    assert found == {"a.png": False} | ({name: True} if name == "film.mp4" else {})
    with pytest.raises(UserError, match="is a pipe or a device"):
        VideoReader(tmp_path / name)

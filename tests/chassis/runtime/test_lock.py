from __future__ import annotations

import os
from pathlib import Path

import pytest

from trenza.chassis.runtime.lock import DataFolderInUse, DataFolderUnusable, lock_data_folder, lock_to_fill, share_data_folder


def test_one_at_a_time_and_the_holder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with lock_data_folder(folder):
        with pytest.raises(DataFolderInUse, match=f"is in use by process {os.getpid()}: stop it"), lock_data_folder(folder):
            pass
        assert (folder.stat().st_mode & 0o777) == 0o700
    with lock_data_folder(folder):  # free again
        pass


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DataFolderUnusable, match=r"cannot be made .*choose another with --data-dir"),
        lock_data_folder(tmp_path / "file" / "data"),
    ):
        pass


def test_a_lock_that_was_removed_with_its_file_locks_nobody_out_and_nobody_in(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with pytest.raises(KeyError), lock_to_fill(folder):
        with pytest.raises(DataFolderInUse), lock_data_folder(folder):
            pass
        raise KeyError
    assert not folder.exists()
    with lock_data_folder(folder), pytest.raises(DataFolderInUse), lock_to_fill(folder):
        pass
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_those_who_share_a_folder_keep_out_whoever_wants_all_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with share_data_folder(folder, ["photos"]), share_data_folder(folder, ["images"]):
        with pytest.raises(DataFolderInUse, match="by the processes of a deployment: stop them"), lock_data_folder(folder):
            pass
        with pytest.raises(DataFolderInUse), lock_to_fill(folder):
            pass
    with lock_data_folder(folder), pytest.raises(DataFolderInUse), share_data_folder(folder, []):
        pass


def test_of_those_who_share_a_service_the_first_one_alone_may_take_over(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with share_data_folder(folder, ["photos", "images"]) as first:
        assert first.alone == {"images", "photos"}
        first.started()
        with share_data_folder(folder, ["photos"]) as second:
            assert second.alone == frozenset()
            second.started()
        with share_data_folder(folder, ["diary", "photos"]) as third:
            assert third.alone == {"diary"}
    with share_data_folder(folder, ["photos"]) as again:
        assert again.alone == {"photos"}


def test_the_id_of_one_that_was_killed_is_not_told_as_the_holder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "lock").write_text("4711\n")
    with (
        share_data_folder(folder, []),
        pytest.raises(DataFolderInUse, match="by the processes of a deployment"),
        lock_data_folder(folder),
    ):
        pass

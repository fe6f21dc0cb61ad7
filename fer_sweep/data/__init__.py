"""Face images in: Kaggle's CSV files, image folders and procedural faces, all as one ``FaceSet``."""

from fer_sweep.data.faceset import CLASSES, SPLITS, FaceSet
from fer_sweep.data.loader import load_faces
from fer_sweep.data.subset import stratified_subset

__all__ = ["CLASSES", "SPLITS", "FaceSet", "load_faces", "stratified_subset"]

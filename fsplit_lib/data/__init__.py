"""Named image sets: photos to look at, Fashion-MNIST to train on, any folder to evaluate on."""

from fsplit_lib.data.fashion import FASHION_CLASSES, fashion_mnist
from fsplit_lib.data.files import data_root, sha256_of, write_atomically
from fsplit_lib.data.folders import ImageFolder, caltech101, elpv, image_folder, training_folder
from fsplit_lib.data.images import PHOTOS, center_crop, load_photo, open_image, to_array
from fsplit_lib.data.tables import read_rows, write_rows

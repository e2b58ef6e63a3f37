"""Data: sources return uint8 images in memory (`sources`), batches are made from them on the device (`batches`)."""

"""The embedded DICOMweb archive: a folder of DICOM files served over QIDO-RS, WADO-RS and STOW-RS (PS3.18). The default where there is no PACS."""

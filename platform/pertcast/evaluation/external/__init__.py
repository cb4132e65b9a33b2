"""A model on another lab's or assay's store: genes matched, scales compared, reference means."""

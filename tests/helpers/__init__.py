"""What tests share: estimators, streams, stored results, data, processes."""

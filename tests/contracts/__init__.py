"""What every port promises, asked of the fakes and of the real adapters alike."""

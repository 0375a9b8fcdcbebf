sms-text = { $token } é o seu código do Matrix

sms-text = { $token } — ваш код Matrix

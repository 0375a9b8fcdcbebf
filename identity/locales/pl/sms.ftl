sms-text = { $token } to Twój kod Matrix

sms-text = { $token } är din Matrix-kod

sms-text = { $token } è il suo codice Matrix

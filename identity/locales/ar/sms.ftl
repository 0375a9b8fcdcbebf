sms-text = { $token } هو رمز Matrix الخاص بك
